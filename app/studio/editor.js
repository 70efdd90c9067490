// Paints labels, not colours: each pixel of the canvas is one pixel of the mask, so nothing is blurred or guessed back.
// The value is the mask as its S² digits; it is set here by the user's strokes, and by the server with a new mask.
const canvas = element.querySelector('canvas'), context = canvas.getContext('2d');
const brush = element.querySelector('input');
const colours = [[17, 17, 17]];
for (const button of element.querySelectorAll('[data-label]')) {
  if (+button.dataset.label) {
    colours[+button.dataset.label] = getComputedStyle(button.firstChild).backgroundColor.match(/\d+/g).map(Number);
  }
}
let size = 0, labels = [], past = [], label = 1, last = null;

function show() {
  const picture = context.createImageData(size, size);
  labels.forEach((value, place) => picture.data.set([...colours[value], 255], 4 * place));
  context.putImageData(picture, 0, 0);
}

function read() {
  const text = props.value || '';
  size = canvas.width = canvas.height = Math.round(Math.sqrt(text.length));
  labels = Uint8Array.from(text, Number);
  past = [];
  if (size) show();
}

function tell() {
  props.value = labels.join('');
  trigger('input');
}

function dab(x, y) {
  const radius = 0.5 + brush.value ** 2 * size / 4;
  for (let row = Math.max(0, Math.floor(y - radius)); row <= Math.min(size - 1, y + radius); row++) {
    for (let column = Math.max(0, Math.floor(x - radius)); column <= Math.min(size - 1, x + radius); column++) {
      if ((row + 0.5 - y) ** 2 + (column + 0.5 - x) ** 2 <= radius ** 2) labels[row * size + column] = label;
    }
  }
}

function stroke(event) {
  const box = canvas.getBoundingClientRect();
  const here = [(event.clientX - box.left) / box.width * size, (event.clientY - box.top) / box.height * size];
  const from = last || here, steps = Math.ceil(Math.hypot(here[0] - from[0], here[1] - from[1]) * 2) || 1;
  for (let step = 1; step <= steps; step++) {
    dab(from[0] + (here[0] - from[0]) * step / steps, from[1] + (here[1] - from[1]) * step / steps);
  }
  last = here;
  show();
}

canvas.addEventListener('pointerdown', event => {
  if (!size || event.button) return;
  canvas.setPointerCapture(event.pointerId);
  past = [...past.slice(-30), labels.slice()];
  stroke(event);
});
canvas.addEventListener('pointermove', event => { if (last) stroke(event); });
for (const end of ['pointerup', 'pointercancel']) {
  canvas.addEventListener(end, () => { if (last) { last = null; tell(); } });
}

element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.label) {
    label = +button.dataset.label;
    for (const other of element.querySelectorAll('[data-label]')) other.setAttribute('aria-pressed', other === button);
  } else if (button.dataset.do === 'undo' && past.length) {
    labels = past.pop();
    show();
    tell();
  } else if (button.dataset.do === 'clear' && size) {
    past = [...past.slice(-30), labels.slice()];
    labels = new Uint8Array(size * size);
    show();
    tell();
  }
});

watch('value', read);
read();

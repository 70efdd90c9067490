// Sends the file to the studio, which reads it and answers with a key; the key is the value that the page's event carries.
const button = element.querySelector('button'), input = element.querySelector('input');

button.addEventListener('click', () => input.click());
input.addEventListener('change', async () => {
  const file = input.files[0];
  if (!file) return;
  button.disabled = true;
  try {
    const answer = await fetch(`mask?name=${encodeURIComponent(file.name)}`, { method: 'POST', body: file });
    props.value = answer.ok ? await answer.text() : '';
  } catch {
    props.value = '';
  } finally {
    button.disabled = false;
    input.value = '';
  }
  trigger('input');
});

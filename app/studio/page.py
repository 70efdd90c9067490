"""The studio's page: which components it has, where they stand, and which handler each of them calls."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from app.studio import render
from app.studio.faults import handled
from app.studio.handlers import SEED_MOST, Handlers, Origin, Shown, new_seed
from app.studio.limits import visitor_of
from app.studio.waiting import NETWORK, WAITING

LOOK_SECONDS = 15.0
"""How often an open page asks whether what it shows still is approved."""
_PAGES = 200
_HERE = Path(__file__).parent
_HEAD = """
<h1>SynCMRI studio</h1>
<p>Synthetic short-axis cardiac MR from approved generators.
No picture here is a scan of a person; none may be used for a diagnosis.</p>
"""
_SHADE = "() => { document.body.classList.toggle('dark') }"
_OVERLAY = "value => { document.documentElement.style.setProperty('--overlay', value) }"
# The handlers check what arrives: Gradio's checks end in a trace of the stack in the log, for whoever likes to fill it.
_OWN: dict[str, Any] = {"api_visibility": "private", "preprocess": False}
# Everything runs alone: networks share the processor or the GPU, and two at once would be no faster.
_ALONE: dict[str, Any] = _OWN | {"concurrency_id": NETWORK, "concurrency_limit": 1}
_LIGHT: dict[str, Any] = _OWN | {"show_progress": "hidden"}


def theme() -> gr.themes.Base:
    """Slate and steel blue, system fonts: nothing is fetched from anywhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_sm,
        font=("Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "Liberation Mono", "monospace"),
    ).set(
        body_background_fill="#f7f8fa",
        body_background_fill_dark="#0b1017",
        block_background_fill_dark="#151c26",
        button_primary_background_fill="#274c77",
        button_primary_background_fill_hover="#1d3b5e",
        button_primary_background_fill_dark="#3a6aa3",
        button_primary_background_fill_hover_dark="#4a7cb8",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#eef3f9",
        button_secondary_background_fill_dark="#1d2836",
        button_secondary_background_fill_hover_dark="#273649",
        button_secondary_border_color="#cfd6e0",
        button_secondary_border_color_dark="#36465b",
        button_large_text_size="*text_md",
        button_large_text_weight="500",
        button_border_width="1px",
        slider_color="#274c77",
        slider_color_dark="#8fb4e0",
        checkbox_background_color_selected="#274c77",
        checkbox_background_color_selected_dark="#3a6aa3",
    )


def css() -> str:
    return (_HERE / "studio.css").read_text(encoding="utf-8")


def build(handlers: Handlers) -> gr.Blocks:
    """The page, ready to be mounted."""
    with gr.Blocks(title="SynCMRI studio", analytics_enabled=False) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(_HEAD, padding=False)
            shade = gr.Button("Light / dark", size="sm", elem_id="shade")
        shade.click(None, js=_SHADE, api_visibility="private")
        with gr.Tabs():
            with gr.Tab("Draw", id="draw"):
                _draw_tab(page, handlers)
            with gr.Tab("Report", id="report"):
                gr.HTML('<iframe src="report" title="Report of the pipeline"></iframe>', elem_id="report")
            with gr.Tab("Registry", id="registry") as tab:
                again = gr.Button("Look again", size="sm", elem_id="again")
                state = gr.HTML(elem_id="registry-state")
            gr.on([tab.select, again.click], handled(handlers.registry), outputs=state, **_LIGHT)
    handlers.others_wait = partial(_others_wait, page)
    page.state_session_capacity = _PAGES  # the states of pages that were left last are kept
    return page.queue(api_open=False, max_size=WAITING)


def _others_wait(page: gr.Blocks, visitor: str) -> bool:
    """Whether somebody else waits for a network."""
    queue = page._queue.event_queue_per_concurrency_id.get(NETWORK)
    return queue is not None and any(visitor_of(event.request.scope) != visitor for event in list(queue.queue))


def _draw_tab(page: gr.Blocks, handlers: Handlers) -> None:
    offered, origin, shown, uploaded = gr.State([]), gr.State(Origin()), gr.State(Shown()), gr.State([])
    with gr.Row():
        with gr.Column(scale=2, min_width=340, elem_id="left"):
            with gr.Row(elem_classes="line"):
                mask_seed = _seed_box("Seed of the mask")
                sample = gr.Button("Sample a mask", min_width=120)
            upload = gr.HTML("", html_template=render.picker(), js_on_load=_script("upload"), elem_id="upload")
            slices = gr.Slider(1, 2, step=1, label="Slice", visible=False)
            editor = gr.HTML("", html_template=render.editor(), js_on_load=_script("editor"), elem_id="mask")
            note = gr.HTML(elem_id="note")
        with gr.Column(scale=4, min_width=420):
            with gr.Column(elem_id="ask"):
                generators = gr.CheckboxGroup(label="Generators", elem_id="generators")
                missing = gr.HTML(elem_id="missing")
                with gr.Row(elem_classes="line"):
                    seed = _seed_box("Seed of the image")
                    another = gr.Button("Another seed", min_width=110)
                    steps = gr.Number(0, label="Steps (0: as measured)", precision=0, minimum=0, min_width=110)
                    draw = gr.Button("Draw", variant="primary", elem_id="go", min_width=140)
            results = gr.HTML(elem_id="results")
            with gr.Row(elem_classes="line"):
                overlay = gr.Slider(0, 1, value=0.45, step=0.05, label="Overlay", min_width=200)
                download = gr.HTML(render.download(), elem_id="download")
            with gr.Accordion("Model cards of what is shown", open=False):
                cards = gr.Markdown("Draw an image first.")
    page.load(handled(handlers.opened), outputs=[offered, generators, editor, missing, results], **_LIGHT)
    gr.Timer(LOOK_SECONDS).tick(
        handled(handlers.looked_again),
        [offered, generators, shown],
        [offered, generators, missing, results, download, shown],
        **_LIGHT,
    )
    sample.click(handled(handlers.sample), mask_seed, [editor, origin, note], **_ALONE)
    upload.input(handled(handlers.upload), upload, [editor, uploaded, slices, note], **_OWN)
    slices.release(handled(handlers.choose), [uploaded, slices], [editor, note], **_LIGHT)
    editor.input(handled(handlers.painted), editor, note, **_LIGHT)
    another.click(new_seed, outputs=seed, **_LIGHT)
    draw.click(
        handled(handlers.draw),
        [editor, generators, seed, steps, origin],
        [results, download, shown, cards],
        show_progress_on=results,
        **_ALONE,
    )
    overlay.change(None, overlay, js=_OVERLAY, api_visibility="private")
    page.unload(handled(handlers.left))


def _script(name: str) -> str:
    return (_HERE / f"{name}.js").read_text(encoding="utf-8")


def _seed_box(label: str) -> gr.Number:
    return gr.Number(new_seed(), label=label, precision=0, minimum=0, maximum=SEED_MOST, min_width=110)

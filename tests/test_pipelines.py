"""The pipeline as people call it: one image, many images, options, errors, lifetime."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import RMBG_PREPROCESSOR, brightness_model, write_repo

from transformers_foreground import Segmenter, cutout, env, pipeline
from transformers_foreground.errors import (
    DeviceFallbackWarning,
    ForegroundError,
    ImageError,
    InvalidModelError,
    UnsupportedDeviceError,
    UnsupportedDtypeError,
    UnsupportedOptionError,
    UnsupportedTaskError,
)
from transformers_foreground.images import decode as images
from transformers_foreground.runtime import model


@pytest.fixture
def segmenter(tiny: Path) -> Any:
    return pipeline("image-segmentation", "briaai/RMBG-1.4")


def mask_of(result: Any) -> np.ndarray:
    return np.asarray(result[0]["mask"])


def shade(value: int, size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


# --- one image ------------------------------------------------------------------------------------------------------


def test_the_one_liner(tiny: Path, half_bright: Image.Image) -> None:
    half_bright.save(tiny / "photo.png")
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", device="cpu")
    result = segmenter(str(tiny / "photo.png"), subtask="foreground-extraction")
    assert result[0]["mask"].size == (48, 32)


def test_a_image_decoded_with_another_limit(
    segmenter: Any, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(images.decode.__kwdefaults__, "max_pixels", 1000)
    with pytest.raises(
        ImageError, match=r"shrink it, or, in Python, pass on images\.decode\(image, max_pixels=\.\.\.\)"
    ):
        segmenter(half_bright)
    decoded = images.decode(half_bright, max_pixels=2000)
    assert segmenter([decoded])[0][0]["mask"].size == segmenter(decoded)[0]["mask"].size == (48, 32)
    assert cutout(decoded, decoded.pixels[..., 0], background=decoded).size == (48, 32)


@pytest.mark.parametrize("subtask", [None, "", "foreground-extraction"])
def test_the_subtask_is_the_default(segmenter: Any, subtask: str | None) -> None:
    assert mask_of(segmenter(shade(255), subtask=subtask))[2, 2] == 255


def test_the_mask_is_a_view_of_its_array(segmenter: Any) -> None:
    mask = segmenter(shade(200))[0]["mask"]
    assert np.shares_memory(np.asarray(mask), np.asarray(mask))


def test_background_removal_keeps_hidden_colours(tiny: Path) -> None:
    result = pipeline("background-removal", "briaai/RMBG-1.4")(Image.new("RGB", (20, 10), (90, 0, 30)))
    assert result.mode == "RGBA"
    *colours, alpha = result.getpixel((5, 5))
    assert colours == [90, 0, 30]
    assert alpha in (39, 40)  # the brightness, truncated


def test_background_removal_replaces_alpha(tiny: Path) -> None:
    image = Image.new("RGBA", (20, 10), (255, 255, 255, 7))
    assert pipeline("background-removal", "briaai/RMBG-1.4")(image).getpixel((3, 3)) == (255, 255, 255, 255)


# --- many images ----------------------------------------------------------------------------------------------------


def test_a_list_gives_a_list_of_lists(segmenter: Any) -> None:
    results = segmenter([shade(0), shade(255, (7, 9))])
    assert [r[0]["mask"].size for r in results] == [(20, 10), (7, 9)]


def test_an_empty_list_gives_an_empty_list(segmenter: Any) -> None:
    assert segmenter([]) == []


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("batch", [None, 1, 2])
def test_batching_changes_nothing(batch: int | None, batch_size: int, num_workers: int, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(batch=batch)})
    with pipeline("image-segmentation", folder) as segmenter:
        images = [shade(50 * i, (20 + i, 10)) for i in range(5)]
        alone = [mask_of(segmenter(p)).tobytes() for p in images]
        together = [mask_of(r).tobytes() for r in segmenter(images, batch_size=batch_size, num_workers=num_workers)]
    assert together == alone


def test_batches_of_several_sizes(tmp_path: Path) -> None:
    preprocessor = {**RMBG_PREPROCESSOR, "size": {"shortest_edge": 16}, "size_divisibility": 8}
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=None, batch=None)}, preprocessor=preprocessor)
    segmenter = pipeline("image-segmentation", folder, batch_size=4)
    images = [shade(255, size) for size in [(32, 16), (16, 32), (64, 32), (16, 16)]]
    assert [mask_of(r).shape for r in segmenter(images)] == [(16, 32), (32, 16), (32, 64), (16, 16)]


def test_a_generator_streams_with_bounded_look_ahead(segmenter: Any) -> None:
    read = []

    def endless() -> Iterator[Image.Image]:
        while True:
            read.append(1)
            yield shade(100)

    before = set(threading.enumerate())  # other tests' servers may still be ending theirs
    results = segmenter(endless(), batch_size=2, num_workers=1)
    for _ in range(3):
        next(results)
    assert len(read) <= 20
    results.close()
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("foreground")]


@pytest.mark.parametrize("library", ["pyarrow", "pandas"])
def test_columns_of_encoded_images_stream(library: str, segmenter: Any) -> None:
    files = []
    for value in (0, 255):
        buffer = io.BytesIO()
        shade(value).save(buffer, "PNG")
        files.append(buffer.getvalue())
    module = pytest.importorskip(library)
    column = module.chunked_array([files[:1], files[1:]]) if library == "pyarrow" else module.Series(files)
    assert [mask_of(result)[2, 2] for result in segmenter(column)] == [0, 255]


def test_torch_datasets_and_columns_stream(segmenter: Any) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("torch")
    from transformers.pipelines.pt_utils import KeyDataset

    table = datasets.Dataset.from_dict(
        {"image": [shade(0), shade(255)]}, features=datasets.Features(image=datasets.Image())
    )
    for inputs in (KeyDataset(table, "image"), table["image"], (row["image"] for row in table)):
        results = segmenter(inputs)
        assert isinstance(results, list) == isinstance(inputs, list)  # before datasets 4 a column is a list
        assert [mask_of(r)[2, 2] for r in results] == [0, 255]


@pytest.mark.parametrize(("on_error", "left"), [("none", [True, False, True]), ("skip", [True, True])])
def test_one_bad_image_does_not_end_the_list(segmenter: Any, on_error: str, left: list[bool]) -> None:
    results = segmenter([shade(1), b"not an image", shade(2)], on_error=on_error)
    assert [r is not None for r in results] == left


def test_a_bad_image_is_named(segmenter: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"notes\.jpg"):
        segmenter([shade(1), tmp_path / "notes.jpg"])


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "options", "error", "message"),
    [
        ("foreground-extraction", {}, UnsupportedTaskError, "image-segmentation, background-removal"),
        ("image-segmentation", {"dtype": "fp64"}, UnsupportedDtypeError, "fp32, fp16"),
        ("image-segmentation", {"device": "tpu"}, UnsupportedDeviceError, "cpu, wasm"),
        ("image-segmentation", {"device": "cuda", "strict": True}, UnsupportedDeviceError, "onnxruntime-gpu"),
        ("image-segmentation", {"resampling": "lanczos"}, UnsupportedOptionError, "transformers.js, canvas"),
        ("image-segmentation", {"session_options": {"intraOpNumThreads": 1}}, UnsupportedOptionError, "intra_op_num"),
        ("image-segmentation", {"progressCallback": print}, TypeError, "progressCallback"),
        ("image-segmentation", {"devise": "cpu"}, TypeError, "devise"),
        ("image-segmentation", {"torch_dtype": "float16"}, TypeError, "use dtype="),
    ],
)
def test_loading_refuses_what_it_cannot_do(
    tiny: Path, task: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline(task, "briaai/RMBG-1.4", **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"subtask": "semantic"}, UnsupportedTaskError, "foreground-extraction"),
        ({"subtask": "foo"}, UnsupportedTaskError, "foreground-extraction"),
        ({"returnMask": True}, TypeError, "return_mask"),
        ({"resampling": "x"}, UnsupportedOptionError, "canvas"),
        ({"model_input_size": [8, 8]}, UnsupportedOptionError, r"\[16, 16\]"),
        ({"on_error": "ignore"}, UnsupportedOptionError, "skip"),
    ],
)
def test_calls_refuse_what_they_cannot_do(
    segmenter: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        segmenter(shade(1), **options)


@pytest.mark.parametrize("option", ["threshold", "mask_threshold", "label_ids_to_fuse", "target_sizes"])
def test_options_for_classes_are_refused(segmenter: Any, option: str) -> None:
    assert segmenter(shade(80), **{option: None})
    with pytest.raises(UnsupportedOptionError, match=rf"{option}=0.1 means nothing .* no classes"):
        segmenter(shade(80), **{option: 0.1})


def test_options_of_other_libraries_are_left_out_with_a_note(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"trust_remote_code": True, "device_map": "auto", "use_safetensors": True, "low_cpu_mem_usage": True}
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", **options)  # type: ignore[call-overload]
    assert mask_of(segmenter(shade(255)))[2, 2] == 255
    (note,) = [record.getMessage() for record in caplog.records]
    assert all(name in note for name in options)


def test_options_as_a_mapping_as_in_transformersjs(segmenter: Any) -> None:
    result = segmenter(shade(255), {"subtask": "foreground-extraction", "return_mask": True})
    assert result.mode == "L"
    assert segmenter([shade(255)], {"return_mask": True})[0].mode == "L"
    with pytest.raises(TypeError, match="mapping of options"):
        segmenter(shade(1), "foreground-extraction")


@pytest.mark.parametrize("task", ["image-segmentation", "background-removal"])
def test_return_mask_gives_the_mask_alone(tiny: Path, task: str) -> None:
    mask = pipeline(task, "briaai/RMBG-1.4")(shade(255), return_mask=True)
    assert (mask.mode, mask.size) == ("L", (20, 10))


def test_model_input_size_where_the_graph_allows_it(tmp_path: Path, half_bright: Image.Image) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=None)})
    segmenter = pipeline("image-segmentation", folder)
    assert segmenter.model.prepare(half_bright, model_input_size=[8, 24]).pixel_values.shape == (1, 3, 8, 24)
    assert mask_of(segmenter(half_bright, model_input_size=[8, 24])).shape == (32, 48)


def test_bria_resampling_stretches(segmenter: Any, half_bright: Image.Image) -> None:
    grey = half_bright.point(lambda v: 100 + v // 5)
    mask = mask_of(segmenter(grey, resampling="bria"))
    assert (mask.min(), mask.max()) == (0, 255)
    assert mask_of(segmenter(grey)).min() < 110


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_flat_image_stays_flat_under_bria(segmenter: Any, value: int) -> None:
    mask = mask_of(segmenter(shade(value), resampling="bria"))
    assert np.ptp(mask) <= 1


def test_missing_device_falls_back_with_one_warning(tiny: Path) -> None:
    with pytest.warns(DeviceFallbackWarning, match="onnxruntime-gpu") as caught:
        segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", device="cuda")
    assert len(caught) == 1
    assert segmenter.model.graph.session.get_providers()[0] == "CPUExecutionProvider"


def test_wasm_means_q8_as_in_the_browser(tmp_path: Path) -> None:
    dtypes = {"": brightness_model(), "_quantized": brightness_model(output_name="quantised")}
    folder = write_repo(tmp_path / "m", dtypes=dtypes)
    assert pipeline("image-segmentation", folder, device="wasm").model.graph.output_name == "quantised"
    assert pipeline("image-segmentation", folder).model.graph.output_name == "output"


def test_session_options_and_env_defaults(tiny: Path) -> None:
    env.backends.onnx = {"intra_op_num_threads": 3, "log_severity_level": 4}
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", session_options={"intra_op_num_threads": 1})
    options = segmenter.model.graph.session.get_session_options()
    assert (options.intra_op_num_threads, options.log_severity_level) == (1, 4)


# --- graphs of every kind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        {"input_name": "x.1", "output_name": "1959"},
        {"size": None},
        {"size": None, "batch": None},
        {"batch": None},
        {"batch": 4},
        {"logits": True},
        {"half": True},
        {"channels_last": True},
        {"side_outputs": 11},
    ],
    ids=str,
)
def test_graphs_of_every_kind(made: dict[str, Any], tmp_path: Path, half_bright: Image.Image) -> None:
    segmenter = pipeline("image-segmentation", write_repo(tmp_path / "m", dtypes={"": brightness_model(**made)}))
    mask = mask_of(segmenter(half_bright))
    assert mask[16, 4] >= 254
    assert mask[16, 40] <= 1
    assert [mask_of(r).tobytes() for r in segmenter([half_bright] * 3, batch_size=3)] == [mask.tobytes()] * 3


def test_a_graph_that_is_no_foreground_model_is_refused(tmp_path: Path) -> None:
    """Where Optimum works, it may be a model of classes; for the other task it never is."""
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(channels=21)})
    with pytest.raises(UnsupportedTaskError, match="one foreground plane"):
        pipeline("background-removal", folder)
    if not find_spec("optimum"):
        with pytest.raises(InvalidModelError, match="one alpha plane"):
            pipeline("image-segmentation", folder)


def test_a_file_that_is_no_graph_is_refused(tiny: Path) -> None:
    (tiny / "onnx" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InvalidModelError, match=r"model\.onnx"):
        pipeline("image-segmentation", "briaai/RMBG-1.4")


def test_only_the_first_output_is_asked_for(segmenter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    session = segmenter.model.graph.session
    run = session.run
    monkeypatch.setattr(session, "run", lambda names, *rest: asked.append(names) or run(names, *rest))
    segmenter(shade(1))
    assert asked == [["output"]]


def test_a_size_that_contradicts_the_graph_is_refused(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", size=16, preprocessor={**RMBG_PREPROCESSOR})
    with pytest.raises(InvalidModelError, match="16×16"):
        pipeline("image-segmentation", folder)(shade(1))


def test_an_unknown_model_without_preprocessor_is_refused(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", config={"model_type": "novel"}, preprocessor={})
    with pytest.raises(UnsupportedOptionError, match=r"preprocessor_config\.json"):
        pipeline("image-segmentation", folder)


def test_a_known_model_without_preprocessor_uses_its_card(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=None)}, preprocessor={})
    segmenter = pipeline("image-segmentation", folder)
    assert segmenter.model.processing.size == {"width": 1024, "height": 1024}


# --- lifetime ---------------------------------------------------------------------------------------------------------


def test_dispose(segmenter: Any) -> None:
    graph = weakref.ref(segmenter.model.graph.session)
    segmenter.dispose()
    segmenter.dispose()
    gc.collect()
    assert graph() is None
    with pytest.raises(ForegroundError, match="disposed"):
        segmenter(shade(1))


def test_context_manager(tiny: Path) -> None:
    with pipeline("image-segmentation", "briaai/RMBG-1.4") as segmenter:
        segmenter(shade(1))
    with pytest.raises(ForegroundError, match="disposed"):
        segmenter(shade(1))


def test_threads_share_one_pipeline(segmenter: Any) -> None:
    images = [shade(10 * i, (20 + i, 10)) for i in range(16)]
    expected = [mask_of(segmenter(p)).tobytes() for p in images]
    got: dict[int, bytes] = {}

    def work(i: int) -> None:
        for _ in range(5):
            got[i] = mask_of(segmenter(images[i])).tobytes()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[i] for i in range(16)] == expected


def test_a_pipeline_pickles_by_what_it_was_made_from(tiny: Path, half_bright: Image.Image) -> None:
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", session_options={"intra_op_num_threads": 1})
    mask = mask_of(segmenter(half_bright)).tobytes()
    copy = pickle.loads(pickle.dumps(segmenter))
    assert copy.model.graph.session is not segmenter.model.graph.session
    assert copy.model.graph.session.get_session_options().intra_op_num_threads == 1
    assert mask_of(copy(half_bright)).tobytes() == mask


def test_datasets_map_in_processes_and_from_the_cache(tiny: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4")
    features = datasets.Features(image=datasets.Image())
    table = datasets.Dataset.from_dict({"image": [shade(i) for i in range(0, 250, 50)]}, features=features)
    table.save_to_disk(tmp_path / "table")
    table = datasets.load_from_disk(tmp_path / "table")

    def add_masks(rows: dict[str, Any]) -> dict[str, Any]:
        return {"mask": [mask[0]["mask"] for mask in segmenter(rows["image"])]}

    masked = [table.map(add_masks, batched=True, batch_size=2, num_proc=workers) for workers in (None, 2)]
    for rows in masked:
        assert isinstance(rows.features["mask"], datasets.Image)
        assert [row["mask"].getpixel((3, 3)) for row in rows] == pytest.approx(range(0, 250, 50), abs=1)
    again = table.map(add_masks, batched=True, batch_size=2)
    assert again._fingerprint == masked[0]._fingerprint


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_can_drop_its_parents_sessions(tiny: Path) -> None:
    segmenters = [pipeline("image-segmentation", "briaai/RMBG-1.4") for _ in range(3)]
    segmenters[0](shade(1))
    child = os.fork()
    if child == 0:
        del segmenters
        gc.collect()
        os._exit(7)
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 7
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child hangs")


def test_every_kind_of_input(segmenter: Any, tmp_path: Path, half_bright: Image.Image) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "a b.png"
    half_bright.save(path)
    data, array = path.read_bytes(), np.array(half_bright)
    kinds = [
        str(path), path, path.as_uri(), data, bytearray(data), io.BytesIO(data), half_bright, array,
        array / 255.0, torch.from_numpy(array).permute(2, 0, 1), {"bytes": data, "path": None},
        {"bytes": None, "path": str(path)},
    ]  # fmt: skip
    masks = {mask_of(segmenter(kind)).tobytes() for kind in kinds}
    assert len(masks) == 1


def test_the_config_option_replaces_the_file(tiny: Path) -> None:
    (tiny / "config.json").write_text("{ not json")
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", config={"model_type": "isnet"})
    assert segmenter.model.config["model_type"] == "isnet"


def test_external_weights_beside_the_graph(tmp_path: Path, half_bright: Image.Image) -> None:
    import onnx

    folder = write_repo(tmp_path / "m")
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "scale")
    onnx.external_data_helper.set_external_data(scale, "model.onnx_data")
    onnx.save(model, path)
    assert (folder / "onnx" / "model.onnx_data").stat().st_size > 0
    segmenter = pipeline("image-segmentation", folder, use_external_data_format=True)
    assert mask_of(segmenter(half_bright))[16, 4] >= 254


def test_own_preprocessor_wins_over_the_card(tiny: Path) -> None:
    own = {**RMBG_PREPROCESSOR, "size": {"width": 16, "height": 16}, "image_mean": [0.25, 0.5, 0.5]}
    (tiny / "preprocessor_config.json").write_text(json.dumps(own))
    assert pipeline("image-segmentation", "briaai/RMBG-1.4").model.processing.image_mean == (0.25, 0.5, 0.5)


# --- what other libraries' users do -----------------------------------------------------------------------------------


def test_a_model_can_be_saved_onto_itself(tiny: Path, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "own")
    segmenter = pipeline("image-segmentation", folder)
    segmenter.save_pretrained(folder)
    assert mask_of(pipeline("image-segmentation", folder)(shade(200)))[0, 0] == mask_of(segmenter(shade(200)))[0, 0]


@pytest.mark.parametrize("size", [np.int64(8), [np.int32(8), 8], np.array([8, 8])])
def test_numpys_whole_numbers_are_whole_numbers(size: Any, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "free", dtypes={"": brightness_model(size=None, batch=None)})
    segmenter = pipeline("image-segmentation", folder, batch_size=np.int64(2))
    assert segmenter.segmenter.prepare(shade(1), model_input_size=size).pixel_values.shape == (1, 3, 8, 8)
    assert len(segmenter([shade(1)] * 3, model_input_size=size)) == 3


@pytest.mark.parametrize("size", [True, [True, 8], 0, [8], [8.0, 8.0], "8"])
def test_what_is_no_size_is_refused(size: Any, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "free", dtypes={"": brightness_model(size=None, batch=None)})
    with pytest.raises(UnsupportedOptionError, match="model_input_size"):
        pipeline("image-segmentation", folder)(shade(1), model_input_size=size)


def test_a_config_that_is_no_mapping_is_refused(tiny: Path) -> None:
    with pytest.raises(TypeError, match=r"config='briaai/RMBG-1\.4'"):
        pipeline("image-segmentation", "briaai/RMBG-1.4", config="briaai/RMBG-1.4")  # type: ignore[call-overload]


def test_no_workers_mean_no_threads(tiny: Path) -> None:
    before = threading.active_count()
    assert len(list(Segmenter("briaai/RMBG-1.4", num_workers=0).stream([shade(1)] * 3))) == 3
    assert threading.active_count() == before


def test_what_was_unpickled_pickles_to_the_same_bytes(segmenter: Any) -> None:
    once = pickle.dumps(segmenter)
    assert pickle.dumps(pickle.loads(once)) == once


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_forked_while_another_thread_opens_the_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, forked, parent, open_graph = threading.Event(), threading.Event(), os.getpid(), model.open_graph

    def slow(*args: Any) -> Any:
        if os.getpid() == parent:
            opening.set()
            forked.wait(60)
        return open_graph(*args)

    monkeypatch.setattr(model, "open_graph", slow)
    segmenter = Segmenter("briaai/RMBG-1.4", session_options={"intra_op_num_threads": 1})
    thread = threading.Thread(target=segmenter.open)
    thread.start()
    opening.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends it where it hangs
        status = 1
        try:
            status = 7 if segmenter(shade(90)).mask.shape == (10, 20) else 2
        finally:
            os._exit(status)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_moving_keeps_what_was_asked_for(tiny: Path) -> None:
    segmenter = Segmenter("briaai/RMBG-1.4", strict=True)
    with pytest.raises(UnsupportedDeviceError):
        segmenter.to("cuda:0")
    assert mask_of([{"mask": segmenter(shade(200)).mask}])[0, 0] == 200

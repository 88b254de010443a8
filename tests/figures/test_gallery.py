"""Galleries of examples: every picture and caption is there, sharp, and whatever a class is called it is only drawn."""

import numpy as np
import pytest

from rethink.figures import gallery, style

HOSTILE = (
    "$x^2$ \\frac{1}{0}",
    "$\\bad{",
    "two\nlines\r\n",
    "W" * 400,
    "\u202eright to left\u202c",
    "\U0001f600 and \u732b",
    "e" + "\u0301" * 50,
    "\ud800",
    "\x00\x1b[31m",
    "",
)


@pytest.fixture
def draw(figure_of):
    """draw(images, captions, ...) -> (the texts of a gallery, its canvas uint8 [height, width, 3])."""

    def draw(images, captions=None, **options):
        captions = captions or [("given a", "suggested b")] * len(images)
        figure = figure_of(
            lambda _, stem, title: gallery.draw_gallery(images, captions, stem, title=title, **options), ()
        )
        (axes,) = figure.axes
        canvas = axes.images[0].get_array()
        assert (
            tuple((figure.get_size_inches() * style.DPI).astype(int)[::-1]) == canvas.shape[:2]
        )  # a pixel of it is one of the PNG
        return axes.texts, canvas

    return draw


@pytest.mark.parametrize("count, columns", [(1, 5), (7, 5), (60, 8)])
def test_all_pictures_are_there_within_the_width(draw, count, columns):
    images = np.full((count, 8, 8, 3), np.arange(1, count + 1)[:, None, None, None], np.uint8)
    texts, canvas = draw(images, columns=columns)
    assert len([text for text in texts if text.get_text() == "suggested b"]) == count
    shown = {tuple(pixel) for pixel in np.unique(canvas.reshape(-1, 3), axis=0)}
    assert shown == {(number,) * 3 for number in (*range(1, count + 1), gallery.FRAME, 255)}
    assert canvas.shape[1] <= gallery.WIDTH
    corners = {tuple(text.get_position()) for text in texts}
    assert len(corners) == len(texts) and all(x < canvas.shape[1] and y < canvas.shape[0] for x, y in corners)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (8, 30, 1), (64, 64, 3)])
def test_a_small_picture_is_enlarged_by_a_whole_factor_and_a_large_one_reduced(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    fitted = gallery.fit_picture(image, gallery.LARGEST)
    factor = fitted.shape[0] // shape[0]
    assert gallery.LARGEST / 2 < max(fitted.shape) <= gallery.LARGEST
    np.testing.assert_array_equal(fitted, np.kron(image, np.ones((factor, factor, 1), np.uint8)))
    large = np.kron(image, np.ones((30, 30, 1), np.uint8))
    assert max(gallery.fit_picture(large, gallery.LARGEST).shape) == gallery.LARGEST


@pytest.mark.filterwarnings("error")
def test_a_hostile_name_is_drawn_on_its_line_and_no_more(tmp_path, draw):
    captions = [(name, f"given {name}") for name in HOSTILE]
    images = np.zeros((len(HOSTILE), 4, 4, 1), np.uint8)
    texts, _ = draw(images, captions)
    texts[0].figure.set_dpi(style.DPI)
    renderer = texts[0].figure.canvas.get_renderer()
    for text in texts:
        assert text.get_text().isprintable() and not text.get_parse_math()
        left, _, width, height = text.get_window_extent(renderer).bounds
        assert left + width < gallery.WIDTH and height < gallery.TITLE_LINE
    assert any(text.get_text().endswith(gallery.CUT) for text in texts)


def test_a_gallery_is_written_whole_whatever_its_title(tmp_path):
    title = "$\\bad{ \u202e" + "very long " * 60
    files = gallery.draw_gallery(np.zeros((1, 2, 2, 1), np.uint8), [("a",)], tmp_path / "gallery", title=title)
    assert [path.name for path in files] == ["gallery.png", "gallery.pdf"] and all(
        path.stat().st_size for path in files
    )


@pytest.mark.parametrize(
    "channels, note", [(1, ""), (2, "Of 2 channels the first 1 are shown."), (3, ""), (5, "first 3")]
)
def test_channels_that_are_not_shown_are_named(draw, channels, note):
    texts, _ = draw(np.zeros((2, 4, 4, channels), np.uint8))
    assert any(note in text.get_text() for text in texts) and any(
        text.get_text().startswith("Of") for text in texts
    ) == bool(note)


@pytest.mark.parametrize("features", [1, 13, 500])
def test_vectors_are_drawn_on_one_scale_with_gaps(draw, features):
    vectors = np.linspace(-2, 3, 3 * features).reshape(3, features).astype(np.float32)
    vectors[1, 0] = np.nan
    texts, _ = draw(vectors)
    assert any(f"{features} features" in text.get_text() and "(-2 to 3)" in text.get_text() for text in texts)
    assert draw(np.zeros((1, features)))


def test_pairs_stand_close_together_and_stay_whole(draw):
    texts, _ = draw(np.zeros((6, 4, 4, 1), np.uint8), [(f"{number}",) for number in range(6)], group=2)
    x, y = np.array([text.get_position() for text in texts if text.get_text().isdigit()]).T
    assert x[1] - x[0] < x[2] - x[1] and y[0] == y[3] < y[4] == y[5] and x[4] == x[0]

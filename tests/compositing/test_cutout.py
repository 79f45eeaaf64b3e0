"""Cut-outs: edges without halos, backgrounds, crops, shadows, formats, and what goes along in the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from transformers_foreground import cutout
from transformers_foreground.compositing import backgrounds as composition
from transformers_foreground.compositing.foreground_colors import decontaminate
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.images import encode as formats

RED, BLUE = (200, 40, 30), (20, 60, 220)


def soft_disc(size: int = 160, radius: int = 50, blur: float = 6) -> np.ndarray[Any, Any]:
    """Return a disc's mask with a soft edge, dense in the middle and empty at the border."""
    image = Image.new("L", (size, size))
    middle = size / 2
    ImageDraw.Draw(image).ellipse([middle - radius, middle - radius, middle + radius, middle + radius], fill=255)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)))


def blended(front: Any, back: Any, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    alpha = mask[..., None] / 255
    return np.rint(np.asarray(front) * alpha + np.asarray(back) * (1 - alpha)).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray[Any, Any]:
    return soft_disc()


@pytest.fixture
def image(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A red disc before a blue wall, with a soft edge."""
    return blended(RED, BLUE, mask)


class TestDecontamination:
    def test_two_plain_colours_are_told_apart(self, image: Any, mask: Any) -> None:
        soft = (mask > 25) & (mask < 255)
        assert np.abs(image[soft].astype(int) - RED).mean() > 50
        assert np.abs(decontaminate(image, mask)[soft].astype(int) - RED).mean() < 3

    def test_what_is_decided_stays_as_it_is(self, image: Any, mask: Any) -> None:
        decided = (mask == 0) | (mask == 255)
        np.testing.assert_array_equal(decontaminate(image, mask)[decided], image[decided])

    def test_a_mask_without_soft_pixels_changes_nothing(self, image: Any, mask: Any) -> None:
        assert decontaminate(image, np.where(mask > 127, 255, 0).astype(np.uint8)) is image

    def test_thin_structures_keep_their_colour(self) -> None:
        mask = np.zeros((64, 96), np.uint8)
        mask[10:50, 8:88:8] = 128  # hairs, one pixel wide, nowhere dense
        mask[50:64] = 255  # what they grow from
        result = decontaminate(blended(RED, BLUE, mask), mask)
        assert np.abs(result[20:50][mask[20:50] == 128].astype(int) - RED).mean() < 40  # 90 in the image

    def test_gradients_on_both_sides(self) -> None:
        ramp = np.linspace(0, 1, 200)[None, :, None]
        front, back = (
            np.broadcast_to(255 * ramp * [1, 0.5, 0], (200, 200, 3)),
            255 * (1 - ramp) * [0, 1, 1] * np.ones((200, 1, 1)),
        )
        mask = soft_disc(200, 60, 8)
        soft = (mask > 25) & (mask < 255)
        image = blended(front, back, mask)
        before = np.abs(image[soft] - front[soft]).mean()
        assert np.abs(decontaminate(image, mask)[soft] - front[soft]).mean() < 0.15 * before

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_any_image_and_mask(self, data: st.DataObject) -> None:
        height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
        rgb = data.draw(arrays(np.uint8, (height, width, 3)))
        mask = data.draw(arrays(np.uint8, (height, width), elements=st.sampled_from([0, 1, 64, 128, 254, 255])))
        result = decontaminate(rgb, mask)
        assert result.shape == rgb.shape
        assert result.dtype == np.uint8
        decided = (mask == 0) | (mask == 255)
        np.testing.assert_array_equal(result[decided], rgb[decided])


class TestCutout:
    def test_alpha_is_straight(self) -> None:
        rgb = np.full((4, 4, 3), (200, 100, 50), np.uint8)
        result = cutout(rgb, np.full((4, 4), 128, np.uint8))
        assert result.mode == "RGBA"
        assert result.getpixel((0, 0)) == (200, 100, 50, 128)

    def test_premultiplied(self) -> None:
        rgb = np.full((4, 4, 3), (200, 100, 50), np.uint8)
        result = cutout(rgb, np.full((4, 4), 128, np.uint8), premultiplied=True)
        assert result.mode == "RGBa"
        assert result.getpixel((0, 0)) == (100, 50, 25, 128)

    def test_nothing_hides_where_alpha_is_0(self, image: Any, mask: Any) -> None:
        result = np.asarray(cutout(image, mask))
        assert not result[mask == 0, :3].any()
        kept = np.asarray(cutout(image, mask, keep_hidden=True))
        np.testing.assert_array_equal(kept[mask == 0, :3], image[mask == 0])

    def test_no_halo_on_a_new_background(self, image: Any, mask: Any) -> None:
        wanted = blended(RED, (255, 255, 255), mask).astype(int)
        with_halo = np.abs(np.asarray(cutout(image, mask, background="white", decontaminate=False)) - wanted)
        without = np.abs(np.asarray(cutout(image, mask, background="white")) - wanted)
        assert without.mean() < 0.1 * with_halo.mean()

    @pytest.mark.parametrize("colour", ["#00ff00", "lime", "rgb(0, 255, 0)", (0, 255, 0), [0, 255, 0]])
    def test_a_colour_behind(self, image: Any, mask: Any, colour: Any) -> None:
        result = cutout(image, mask, background=colour)
        assert result.mode == "RGB"
        assert result.getpixel((0, 0)) == (0, 255, 0)
        assert result.getpixel((80, 80)) == RED

    def test_a_image_behind_covers(self, image: Any, mask: Any, tmp_path: Path) -> None:
        behind = Image.new("RGB", (400, 100), "white")
        behind.paste((0, 0, 0), (0, 0, 100, 100))  # what is cropped away: its sides
        behind.paste((0, 0, 0), (300, 0, 400, 100))
        behind.save(tmp_path / "behind.png")
        for source in (behind, np.asarray(behind), tmp_path / "behind.png", str(tmp_path / "behind.png")):
            result = cutout(image, mask, background=source)
            assert result.size == (160, 160)
            assert {result.getpixel(corner) for corner in ((0, 0), (159, 0), (0, 159))} == {(255, 255, 255)}

    def test_the_blurred_background_has_none_of_the_object(self, image: Any, mask: Any) -> None:
        dense = np.where(mask > 0, 255, 0).astype(np.uint8)  # so that no soft pixel is left outside
        result = np.asarray(cutout(image, dense, background="blur"))
        assert np.abs(result[dense == 0].astype(int) - BLUE).max() <= 3

    @pytest.mark.parametrize("side", [200, 1000])
    def test_the_blur_is_of_2_percent_of_the_longer_side(self, side: int) -> None:
        halves = np.zeros((40, side, 3), np.uint8)
        halves[:, side // 2 :] = 255
        blurred = np.asarray(cutout(halves, np.zeros((40, side), np.uint8), background="blur"))[20, :, 0]
        levels = np.searchsorted(blurred, [0.16 * 255, 0.84 * 255])  # one standard deviation on each side
        assert (levels[1] - levels[0]) / 2 == pytest.approx(0.02 * side, rel=0.2)

    def test_blur_where_all_is_foreground(self, image: Any) -> None:
        full = np.full((160, 160), 255, np.uint8)
        np.testing.assert_array_equal(np.asarray(cutout(image, full, background="blur")), image)

    def test_crop(self, image: Any, mask: Any) -> None:
        result = cutout(image, mask, crop=True)
        rows = np.flatnonzero((mask >= 13).any(axis=1))
        assert result.height == rows[-1] - rows[0] + 1
        assert cutout(image, mask, crop=True, pad=7).size == (result.width + 14, result.height + 14)
        share = cutout(image, mask, crop=True, pad=0.1)
        assert share.width == result.width + 2 * round(0.1 * max(result.size))
        assert cutout(image, mask, crop=True, pad="10%") == share
        assert cutout(image, mask, crop=True, pad="7").size == (result.width + 14, result.height + 14)

    def test_room_on_each_side(self, image: Any, mask: Any) -> None:
        result = cutout(image, mask, crop=True)
        room = cutout(image, mask, crop=True, pad=(1, 2, "30", 0.0))
        assert room.size == (result.width + 2, result.height + 31)
        inside = room.crop((0, 1, result.width, 1 + result.height))
        np.testing.assert_array_equal(np.asarray(inside), np.asarray(result))
        square = cutout(image, mask, crop=True, pad=[1, 2, 30, 0], square=True)
        assert square.width == square.height == max(room.size)

    def test_room_beyond_the_border_is_empty(self, image: Any, mask: Any) -> None:
        result = cutout(image, mask, pad=40)
        assert result.size == (240, 240)
        assert not np.asarray(result)[:40].any()
        np.testing.assert_array_equal(np.asarray(result)[40:200, 40:200], np.asarray(cutout(image, mask)))
        filled = cutout(image, mask, pad=40, background="white")
        assert filled.getpixel((0, 0)) == (255, 255, 255)

    def test_crop_of_an_empty_mask_keeps_all(self, image: Any) -> None:
        assert cutout(image, np.zeros((160, 160), np.uint8), crop=True).size == (160, 160)

    def test_specks_do_not_count_for_the_crop(self, image: Any, mask: Any) -> None:
        speck = mask.copy()
        speck[0, 0] = 12
        assert cutout(image, speck, crop=True).size == cutout(image, mask, crop=True).size

    def test_shadow(self, image: Any, mask: Any) -> None:
        plain, shaded = (np.asarray(cutout(image, mask, shadow=shadow)).astype(int) for shadow in (False, True))
        assert (shaded[..., 3] >= plain[..., 3]).all()
        below, above = np.s_[132:138, 60:100], np.s_[22:28, 60:100]
        assert shaded[below][..., 3].mean() > shaded[above][..., 3].mean() + 5
        np.testing.assert_array_equal(shaded[80, 80], plain[80, 80])
        on_white = np.asarray(cutout(image, mask, shadow=True, background="white"))
        assert on_white[below].mean() < 252

    def test_a_shadow_is_at_most_40_percent_dark(self) -> None:
        assert composition.shadow_of(np.full((50, 50), 255, np.uint8)).max() == 102

    def test_max_size(self, image: Any, mask: Any) -> None:
        assert cutout(image, mask, max_size=80).size == (80, 80)
        assert cutout(image, mask, max_size=1000).size == (160, 160)
        assert cutout(image[:40], mask[:40], max_size=80).size == (80, 20)

    def test_the_mask_may_come_in_any_form(self, image: Any, mask: Any, tmp_path: Path) -> None:
        wanted = np.asarray(cutout(image, mask))
        gray = Image.fromarray(mask)
        gray.save(tmp_path / "mask.png")
        rgba = Image.fromarray(image)
        rgba.putalpha(gray)
        for form in (gray, tmp_path / "mask.png", rgba, mask[..., None]):
            np.testing.assert_array_equal(np.asarray(cutout(image, form)), wanted)

    def test_a_mask_of_another_image(self, image: Any, mask: Any) -> None:
        with pytest.raises(ImageError, match="The mask of <array> is 80x160, and the image is 160x160"):
            cutout(image, mask[:, :80])
        with pytest.raises(ImageError, match="has colours"):
            cutout(image, image)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"background": (1, 2, 300)}, "a colour is opaque"),
            ({"background": "#ff000080"}, "a colour is opaque"),
            ({"pad": -1}, "pad=-1"),
            ({"pad": 9.5}, "pad=9.5"),
            ({"pad": True}, "pad=True"),
            ({"pad": (1, 2)}, r"pad=\(1, 2\)"),
            ({"pad": (1, 2, 3, (4, 4, 4, 4))}, r"pad=\(1, 2, 3, "),
            ({"pad": (1, 2, 3, -4)}, "pad=-4"),
            ({"pad": "1.5"}, r"pad='1\.5': use pixels \(12\), or a share"),
            ({"pad": "501%"}, "pad='501%'"),
            ({"max_size": 0}, "max_size=0"),
            ({"premultiplied": True, "background": "white"}, "premultiplied"),
        ],
    )
    def test_options_that_cannot_be_honoured(self, image: Any, mask: Any, options: Any, message: str) -> None:
        with pytest.raises(UnsupportedOptionError, match=message):
            cutout(image, mask, **options)

    def test_a_background_that_is_nothing(self, image: Any, mask: Any) -> None:
        with pytest.raises(ImageError, match=r"no-such-colour-or-file"):
            cutout(image, mask, background="no-such-colour-or-file")

    @settings(max_examples=80, deadline=None)
    @given(st.data())
    def test_any_options_give_a_image(self, data: st.DataObject) -> None:
        height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
        options = {
            "background": data.draw(st.sampled_from([None, "blur", "white", np.zeros((2, 3, 3), np.uint8)])),
            "crop": data.draw(st.booleans()),
            "pad": data.draw(st.sampled_from([0, 3, 0.0, 0.5])),
            "shadow": data.draw(st.booleans()),
            "max_size": data.draw(st.sampled_from([None, 1, 4])),
            "keep_hidden": data.draw(st.booleans()),
        }
        rgb = data.draw(arrays(np.uint8, (height, width, 3)))
        mask = data.draw(arrays(np.uint8, (height, width)))
        result = cutout(rgb, mask, **options)
        assert result.mode == ("RGBA" if options["background"] is None else "RGB")
        assert min(result.size) > 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (3, 4, 3)), arrays(np.uint8, (3, 4)), arrays(np.uint8, (3, 4, 3)))
def test_over_is_the_formula(rgb: Any, mask: Any, back: Any) -> None:
    alpha = mask[..., None] / 255
    exact = rgb * alpha + back * (1 - alpha)
    assert np.abs(composition.over(rgb, mask, back) - exact).max() <= 0.5 + 1e-9


class TestFormats:
    @pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
    def test_lossless_formats_keep_every_value(self, image: Any, mask: Any, kind: str) -> None:
        result = cutout(image, mask, keep_hidden=True)
        back = Image.open(io.BytesIO(formats.encode(result, kind)))
        np.testing.assert_array_equal(np.asarray(back.convert("RGBA")), np.asarray(result))

    @pytest.mark.parametrize(("kind", "quality"), [("webp", 80), ("avif", 80)])
    def test_lossy_formats_keep_alpha(self, image: Any, mask: Any, kind: str, quality: int) -> None:
        if kind == "avif":
            pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
        back = Image.open(io.BytesIO(formats.encode(cutout(image, mask), kind, quality)))
        alpha = np.asarray(back.convert("RGBA"))[..., 3].astype(int)
        assert np.abs(alpha - mask).mean() < 2

    def test_jpeg_needs_a_background(self, image: Any, mask: Any) -> None:
        with pytest.raises(UnsupportedOptionError, match="JPEG has no alpha: give a background"):
            formats.encode(cutout(image, mask), "jpeg")
        data = formats.encode(cutout(image, mask, background="white"), "jpeg")
        assert Image.open(io.BytesIO(data)).format == "JPEG"

    def test_premultiplied_is_for_arrays(self, image: Any, mask: Any) -> None:
        with pytest.raises(UnsupportedOptionError, match="A file has straight alpha"):
            formats.encode(cutout(image, mask, premultiplied=True), "tiff")

    @pytest.mark.parametrize(
        ("kind", "quality", "message"),
        [("bmp", None, "Format 'bmp'"), ("png", 50, "lossless"), ("webp", 0, "1 to 100")],
    )
    def test_impossible(self, kind: str, quality: Any, message: str) -> None:
        with pytest.raises(UnsupportedOptionError, match=message):
            formats.encode(Image.new("RGBA", (2, 2)), kind, quality)

    def test_what_a_format_cannot_hold_is_that_images_error(self) -> None:
        image = Image.new("RGB", (4, 4))
        exif = Image.Exif()
        exif[0x010E] = "x" * 70_000
        image.info["exif"] = exif.tobytes()
        with pytest.raises(ImageError, match=r"EXIF data .* 700\d\d bytes, and JPEG holds 65533: shorten"):
            formats.encode(image, "jpeg")
        for kind in ("png", "webp", "tiff"):
            back = Image.open(io.BytesIO(formats.encode(image, kind)))
            assert len(back.getexif()[0x010E]) == 70_000

    @pytest.mark.parametrize(("kind", "size"), [("webp", (16_384, 1)), ("jpeg", (1, 65_501)), ("avif", (65_536, 1))])
    def test_an_image_too_large_for_a_format(self, kind: str, size: Any) -> None:
        if kind == "avif":
            pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
        with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} pixels, and {kind.upper()} holds"):
            formats.encode(Image.new("RGB", size), kind)
        if kind != "avif":  # its encoder needs minutes for one as long
            assert formats.encode(Image.new("RGB", (size[0] - (size[0] > 1), size[1] - (size[1] > 1))), kind)

    def test_an_encoder_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError("encoder error -2")

        monkeypatch.setattr(Image.Image, "save", fail)
        with pytest.raises(ImageError, match=r"2x2 result cannot be written as WEBP \(encoder error -2\): use PNG"):
            formats.encode(Image.new("RGB", (2, 2)), "webp")

    def test_suffixes(self) -> None:
        assert formats.kind_of("a/B.JPG") == "jpeg"
        assert formats.kind_of("a.tif") == "tiff"
        assert formats.kind_of("a.bmp") is None


class TestWhatGoesAlong:
    @pytest.fixture
    def photo(self, image: Any) -> bytes:
        """A JPEG from a telephone: lying on its side, with a colour profile, and with its place."""
        exif = Image.Exif()
        exif[0x0112], exif[0x0110], exif[0x8298] = 6, "Camera 1", "© Ada"
        exif[0x8769] = {0x9003: "2026:01:02 03:04:05"}
        exif[0x8825] = {2: (52.0, 31.0, 0.0)}
        buffer = io.BytesIO()
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        wide = np.concatenate([image, image[:, :40]], axis=1)
        Image.fromarray(wide).save(buffer, "JPEG", exif=exif, icc_profile=profile, quality=95)
        return buffer.getvalue()

    @pytest.mark.parametrize("kind", ["png", "webp", "tiff", "jpeg"])
    def test_profile_time_and_author_but_no_place(self, photo: bytes, kind: str) -> None:
        mask = np.full((200, 160), 255, np.uint8)  # upright
        result = cutout(photo, mask, background="blur" if kind == "jpeg" else None)
        assert result.size == (160, 200)
        back = Image.open(io.BytesIO(formats.encode(result, kind)))
        assert back.size == (160, 200)
        assert back.info["icc_profile"] == Image.open(io.BytesIO(photo)).info["icc_profile"]
        exif = back.getexif()
        assert exif.get(0x0112, 1) == 1  # it is applied
        assert exif[0x0110] == "Camera 1"
        if kind != "tiff":  # libtiff writes no folder of its own for it
            assert exif.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
        assert not exif.get_ifd(0x8825)

    def test_on_a_colour_it_is_srgb(self, photo: bytes) -> None:
        assert "icc_profile" not in cutout(photo, np.full((200, 160), 255, np.uint8), background="white").info

    def test_wide_gamut_colours_stay(self) -> None:
        """In Display P3 its most saturated green is (0, 255, 0): sRGB has no such, and would clip it."""
        from transformers_foreground.images.color_profiles import srgb_profile

        wide = srgb_profile().replace(  # P3's primaries in the place of sRGB's
            *(
                b"".join(round(v * 65536).to_bytes(4, "big", signed=True) for v in xyz)
                for xyz in ((0.43604, 0.22244, 0.01390), (0.51512, 0.24120, -0.00105))
            )
        )
        image = Image.new("RGB", (8, 8), (250, 10, 10))
        image.info["icc_profile"] = wide
        result = cutout(image, np.full((8, 8), 255, np.uint8))
        assert result.getpixel((0, 0)) == (250, 10, 10, 255)
        assert result.info["icc_profile"] == wide
        assert cutout(image, np.full((8, 8), 255, np.uint8), background="white").getpixel((0, 0)) != (250, 10, 10)

    @pytest.mark.parametrize("kind", ["png", "webp", "tiff", "jpeg", "avif"])
    def test_resolution(self, image: Any, kind: str) -> None:
        if kind == "avif":
            pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6  # lying on its side
        Image.fromarray(image).save(buffer, "JPEG", dpi=(300, 200), exif=exif)
        result = cutout(buffer.getvalue(), np.full((160, 160), 255, np.uint8), background="white")
        assert result.info["dpi"] == (200, 300)
        back = Image.open(io.BytesIO(formats.encode(result, kind)))
        if kind in ("webp", "avif"):  # Pillow reads it from the EXIF data of JPEG alone
            assert (back.getexif()[0x011A], back.getexif()[0x011B], back.getexif()[0x0128]) == (200, 300, 2)
        else:
            assert back.info["dpi"] == pytest.approx((200, 300), abs=0.1)

    @pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 1), (-1, 5), "300", None, (1e9, 1e9)])
    def test_a_resolution_that_is_none_is_left_out(self, dpi: Any) -> None:
        image = Image.new("RGB", (8, 8))
        image.info["dpi"] = dpi
        assert "dpi" not in cutout(image, np.full((8, 8), 255, np.uint8)).info

    def test_broken_metadata_is_left_out(self) -> None:
        image = Image.new("RGB", (8, 8), (1, 2, 3))
        image.info["icc_profile"] = b"no profile"
        image.info["exif"] = b"Exif\0\0nonsense"
        result = cutout(image, np.full((8, 8), 255, np.uint8))
        assert "icc_profile" not in result.info
        assert "exif" not in result.info


def test_errors_are_all_of_one_family() -> None:
    assert issubclass(UnsupportedOptionError, ForegroundError)

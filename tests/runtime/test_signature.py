import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecell_runtime.signature import (
    PIXELS,
    DType,
    QuantizationParams,
    TensorSpec,
    dequantize,
    encode_pixels,
    quantize,
)

EVERY_PIXEL = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
NAN = float("nan")


def spec(dtype: DType, params: QuantizationParams | None = None) -> TensorSpec:
    return TensorSpec("pixels", dtype, (1, 16, 16, 1), "NHWC", params)


@pytest.mark.parametrize(
    ("real", "expected"),
    [(0.49, 0), (0.5, 0), (0.51, 1), (1.5, 2), (2.5, 2), (-0.49, 0), (-0.5, 0), (-1.5, -2)],
)
def test_quantize_rounds_half_to_even(real: float, expected: int) -> None:
    assert quantize(np.array([real]), QuantizationParams(1.0, 0), "int8") == expected


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("int8", -128, 127), ("int16", -32768, 32767)],
)
@pytest.mark.parametrize("real", [300.0, 1e5, 1e30, np.inf])
def test_quantize_clips_and_never_wraps(dtype: DType, low: int, high: int, real: float) -> None:
    real = real * 200  # beyond int16 too
    found = quantize(np.array([-real, real]), QuantizationParams(1.0, 0), dtype)
    assert found.dtype == dtype
    assert found.tolist() == [low, high]


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e3),
    st.integers(-128, 127),
)
def test_quantize_is_within_half_a_step_or_at_an_end(
    real: float, scale: float, zero_point: int
) -> None:
    params = QuantizationParams(scale, zero_point)
    found = quantize(np.array([real]), params, "int8")
    back = dequantize(found, params)[0]
    if found[0] == -128:
        assert real <= back + scale * 0.5001
    elif found[0] == 127:
        assert real >= back - scale * 0.5001
    else:
        assert abs(back - real) <= scale * 0.5001


def test_dequantize_inverts_quantize() -> None:
    params = QuantizationParams(0.037, -5)
    steps = np.arange(-128, 128, dtype=np.int8)
    assert np.array_equal(quantize(dequantize(steps, params), params, "int8"), steps)


def test_dequantize_gives_the_real_value() -> None:
    found = dequantize(np.array([-128, 3, 127], np.int8), QuantizationParams(0.25, 3))
    assert found.dtype == np.float64
    assert found.tolist() == [-32.75, 0.0, 31.0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32"])
def test_encode_pixels_keeps_every_value_when_the_input_is_not_quantised(dtype: DType) -> None:
    found = encode_pixels(EVERY_PIXEL, spec(dtype))
    assert found.dtype == dtype
    assert np.array_equal(found.astype(int), EVERY_PIXEL)


def test_encode_pixels_hands_pixels_through_when_they_are_the_inputs_own_values() -> None:
    assert encode_pixels(EVERY_PIXEL, spec("uint8", PIXELS)) is EVERY_PIXEL


@pytest.mark.parametrize("scale", [1 / 255, float(np.float32(1 / 255)), 0.00392157])
def test_encode_pixels_changes_no_value_when_the_scale_is_one_255th(scale: float) -> None:
    found = encode_pixels(EVERY_PIXEL, spec("uint8", QuantizationParams(scale, 0)))
    assert np.array_equal(found, EVERY_PIXEL)


def test_encode_pixels_shifts_every_value_when_the_input_is_int8_of_one_255th() -> None:
    params = QuantizationParams(float(np.float32(1 / 255)), -128)
    found = encode_pixels(EVERY_PIXEL, spec("int8", params))
    assert np.array_equal(found.astype(int), EVERY_PIXEL.astype(int) - 128)


def test_encode_pixels_clips_when_the_range_is_smaller_than_pixels() -> None:
    found = encode_pixels(EVERY_PIXEL, spec("int8", QuantizationParams(1 / 510, -128)))
    assert (found.min(), found.max()) == (-128, 127)
    assert (np.diff(found.ravel().astype(int)) >= 0).all()


def test_encode_pixels_is_refused_when_int8_has_no_scale() -> None:
    with pytest.raises(ValueError, match="128-255 would wrap"):
        encode_pixels(EVERY_PIXEL, spec("int8"))


@pytest.mark.parametrize("scale", [0.0, -1.0, NAN])
def test_quantization_is_refused_when_the_scale_is_not_above_zero(scale: float) -> None:
    with pytest.raises(ValueError, match="a scale is above zero"):
        QuantizationParams(scale, 0)


def test_tensor_is_refused_when_layout_and_shape_differ() -> None:
    with pytest.raises(ValueError, match=r"layout 'NHWC' does not fit the shape \(1, 2\)"):
        TensorSpec("x", "uint8", (1, 2), "NHWC")


def test_tensor_is_refused_when_floats_are_quantised() -> None:
    with pytest.raises(ValueError, match="a float32 tensor is not quantised"):
        spec("float32", QuantizationParams(1.0, 0))

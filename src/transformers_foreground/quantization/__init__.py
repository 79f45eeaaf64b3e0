"""Static int8 quantisation: a model's fp32 file to `onnx/model_int8.onnx`, with figures that say whether it is safe."""

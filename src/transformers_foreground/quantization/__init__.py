"""Static int8 quantisation: from a model's fp32 file to `onnx/model_int8.onnx`, and how far that is from fp32."""

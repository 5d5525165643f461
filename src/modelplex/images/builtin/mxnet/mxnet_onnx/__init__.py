"""MXNet's artifacts, `NAME-symbol.json` and `NAME-0000.params`, as ONNX: no MXNet is needed."""

"""lepton: compile ONNX models with lcc and call the result.

    import lepton
    m = lepton.compile("model.onnx")
    y, = m.run([x])

`compile` needs lcc and a C compiler, `load` takes what `lcc --emit=so` wrote and needs neither.
docs/bridge.md describes what lies between this package and a compiled model.
"""
from .build import CompileError, compile, lcc_path
from .model import Model, Port, RunError, load
from .tensorfile import TensorFileError, tensor_load, tensor_parse

__all__ = ["CompileError", "Model", "Port", "RunError", "TensorFileError", "compile", "lcc_path",
           "load", "tensor_load", "tensor_parse"]
__version__ = "0.1.0"

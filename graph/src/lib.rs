//! The one definition of the network as an ONNX graph.

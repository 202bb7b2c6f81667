"""TensorFlow Serving's REST protocol, which is KServe's v1 too."""

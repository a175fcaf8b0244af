"""What makes a style: how it draws (`looks`) and its raster finish (`finish`)."""

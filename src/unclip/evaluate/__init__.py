"""What pictures are worth: metrics, judges of scenes, and the report."""

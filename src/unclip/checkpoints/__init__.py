"""Model folders on disk: the native format, and one adapter a file for each foreign one."""

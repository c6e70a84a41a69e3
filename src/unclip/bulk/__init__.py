"""Many pictures of one command: choices in prompts, files of prompts, a record of what is done."""

"""What can be done with a pipeline beside drawing a sentence. One file an ability.

Each is a function of a `Pipeline`, and a method of it by one line in `pipeline.py`.
"""

"""Many processes that train one stage, as `torchrun` starts them; only here is torch.distributed.

`train.world` is what all of training knows of it: the processes, of which the
first decides. An `engine` says what they share of a network: `ddp` all of it, `fsdp` a part each.
"""

"""Work off the GUI thread, and signals that end with their widget.

- `job.SamplingJob`: a run with a model, one at a time per viewer, with progress and cancel.
- `thread_task.ThreadTask`: one small task that reports values while it runs.
- `thread_task.LatestTask`: such a task, which the next one replaces.
- `task_queue.TaskQueue`: small tasks in order, all of which are finished, such as saving.
- `turns.Turns`: work that must happen in the GUI thread, in steps.
- `child_process.ChildProcess`: a process that takes and returns lines. In their own packages,
  `finetuning.process.LearningRun` follows one in a worker of napari, so that a closing window asks
  about the training, and `adapting.process.AdaptationProcess` in a `ThreadTask`.
"""

"""Work off the GUI thread, and signals that end with their widget.

- `job.SamplingJob`: a run with a model, one at a time per viewer, with progress and cancel.
- `thread_task.ThreadTask`: one small task that reports values while it runs.
- `thread_task.LatestTask`: such a task, which the next one replaces.
- `task_queue.TaskQueue`: small tasks in order, all of which are finished, such as saving.
- `turns.Turns`: work that must happen in the GUI thread, in steps.
- `finetuning.process.LearningRun`, in its own package: training in a separate process.
"""

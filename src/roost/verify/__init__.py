"""The tool gate: a battery of cases put to the deployed server, judged by what a client gets. It measures through the
front door alone; where a verdict is kept and what follows from it is others' business."""

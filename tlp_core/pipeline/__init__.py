"""From settings to a landscape: what the source in ParaView and the command ``tlp`` share."""

"""What people see: the command line's commands, and (with a WebUI) the panel, the tab and their callbacks."""

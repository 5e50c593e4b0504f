"""Loading of runs, traces and steps from files: checked line by line, stored set-based, all or nothing per load."""

"""What everything stands on: errors, files, child processes, scales, statistics, progress."""

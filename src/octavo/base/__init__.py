"""The base of all other rooms: errors, files, child processes, scales, statistics, progress."""

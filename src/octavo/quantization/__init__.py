"""From calibration images to a proved int8 file: ranges, the table, the writer, the proof."""

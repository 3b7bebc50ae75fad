"""Analysis: accuracy, the error of each tensor, sensitivity, the calibration study, the target search."""

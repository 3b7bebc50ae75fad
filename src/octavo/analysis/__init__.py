"""Looking: accuracy, error tensor by tensor, sensitivity, the calibration study, the target search."""

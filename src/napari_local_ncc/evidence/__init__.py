"""What images themselves tell: noise, outliers, what is missing, detail, independent samples.

Arrays of NumPy in and out; shared by registration, confidence and residual shift.
"""

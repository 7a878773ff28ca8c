"""The human study: raters choose the real picture of a pair; how often they are wrong says how real a model draws."""

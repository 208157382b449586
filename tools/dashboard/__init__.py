"""The dashboard in a browser, without a stack: the page as the function serves it, an API of answers that were made up, and Chromium.

Its tests look through this, and `make screenshots` photographs it.
"""

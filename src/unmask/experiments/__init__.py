"""The papers' studies, one a file: data, recipe, measure, page."""

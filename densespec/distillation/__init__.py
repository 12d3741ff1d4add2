"""Stage ``distill``: the listwise loss, its temperatures, training, and saving of the student."""

"""Side doors: other software looks at the cell through them. None of them can make anything move."""

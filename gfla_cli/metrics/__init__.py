"""How good a picture is: distances between generated and real ones."""

"""From joints, faces and views to what a network takes."""

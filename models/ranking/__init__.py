"""What comes after the candidates: a learned order, freed of position's pull; diversity, exploration, rows."""

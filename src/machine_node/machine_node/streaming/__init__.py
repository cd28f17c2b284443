"""What all controller families share: cutting moves, which line may go now, whether the machine follows."""

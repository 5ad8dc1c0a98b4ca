"""What `new-defense` and `new-attack` write: real files, checked and tested like all others."""

"""Rules and attacks of other libraries, tried here: through their public interface, as installed packages."""

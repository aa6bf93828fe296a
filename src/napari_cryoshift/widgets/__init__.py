"""The window: dock widgets for napari. They meet in the session and sit on the engine."""

"""The plugin: the only room that knows napari, magicgui and Qt."""

// The theme's icon script must leave the widgets' own icons alone: replacing the icon of the Play button
// while it is being toggled throws an error.
window.FontAwesomeConfig = { observeMutations: false };

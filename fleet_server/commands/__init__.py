"""Acts on devices: issued by somebody, carried out before they expire, proven by what the node measured."""

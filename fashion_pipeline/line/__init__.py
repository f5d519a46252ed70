"""One core function per asset: plain objects in, one frozen report out."""

"""One module per golden format; each exports ``FORMATS``, a tuple of ``golden.Format``."""

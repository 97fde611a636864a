"""Colour profiles of images that change what is seen, such as swapped channels, ProPhoto RGB or inks.

Published detectors were trained on pictures read without their profile, and for sRGB, Display P3 and Adobe RGB the difference is
small, so a profile is ignored as long as a viewer shows nearly the same. Owns that limit. Imported by ``backend.media.depth`` only.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image, ImageCms

#: Mean difference of 8-bit levels between a picture as stored and as shown from which the profile is applied. Measured on 49
#: photographs: Display P3 and Adobe RGB at most 10, ProPhoto RGB 16 in the middle, swapped channels 20, linear light 46.
_LIMIT: Final = 12.0
#: Side of the small copy that is measured.
_SIDE: Final = 128
_SPACES: Final = {"RGB": "RGB ", "CMYK": "CMYK"}


def to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The transform of a loaded picture's colours to sRGB where its profile matters, else None.

    It takes and gives RGB; for a picture of mode CMYK it takes CMYK.
    """
    untrusted_profile = image.info.get("icc_profile")
    mode = "CMYK" if image.mode == "CMYK" else "RGB"
    if not untrusted_profile or image.mode not in ("RGB", "RGBA", "CMYK", "P"):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(untrusted_profile))
        if profile.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        small = image.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        shown = ImageCms.applyTransform(small if mode == "CMYK" else small.convert("RGB"), transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError):
        return None  # viewers ignore a broken profile, too
    if shown is None:
        return None
    stored = np.asarray(small.convert("RGB")).astype(np.int16)
    return transform if np.abs(stored - np.asarray(shown)).mean() > _LIMIT else None

"""What the paper printed (Edirisooriya et al., Tables II to VI), shown beside this run's own figures.

Published facts, typed in as printed. They were measured on all of ACDC and M&Ms at 128 px after 400 (DDPM) or 100 (FM) epochs
on three GPUs, so a run on other data, sizes or budgets is not expected to meet them.
"""

CAVEAT = (
    "The paper's figures come from 150 ACDC and 375 M&Ms patients at 128 × 128 px, up to 400 epochs and three GPUs, and come "
    "without intervals: data, size and budget differ from this run, so they give the scale and are no target."
)

# feature -> (ACDC, M&Ms)
TABLE_II: tuple[tuple[str, tuple[str, str]], ...] = (
    ("Total subjects", ("150", "375")),
    ("Centres", ("Single centre", "Six centres")),
    ("Vendors", ("Single (Siemens, protocol-specific)", "Four (Siemens, Philips, GE, Canon)")),
    ("Countries", ("1 (France)", "3 (Spain, Canada, Germany)")),
    ("Target labels", ("LV, RV, MYO (ED & ES phases)", "LV, RV, MYO (all the phases)")),
    ("Standard utility", ("To test model performance on high-quality unseen data", "Benchmarking cross-vendor generalisation")),
)

# structure -> feature -> (real mean, generated mean, p-value of the KS test)
TABLE_III: dict[str, dict[str, tuple[float, float, float]]] = {
    "LV": {
        "pixel_share": (5.1577, 6.5380, 0.0156),
        "area": (845.04, 875.31, 0.9084),
        "roundness": (0.9009, 0.7160, 1.35e-40),
        "eccentricity": (0.4929, 0.4728, 0.1112),
        "solidity": (0.9644, 0.9001, 1.35e-40),
    },
    "MYO": {
        "pixel_share": (5.8536, 6.3840, 0.0022),
        "area": (957.75, 980.93, 0.1113),
        "roundness": (0.1884, 0.1311, 8.00e-7),
        "eccentricity": (0.3795, 0.4017, 0.0782),
        "solidity": (0.5366, 0.5240, 0.0539),
    },
    "RV": {
        "pixel_share": (5.6487, 5.9424, 0.0061),
        "area": (925.08, 749.15, 0.1548),
        "roundness": (0.5997, 0.5151, 1.75e-6),
        "eccentricity": (0.8026, 0.8196, 0.3682),
        "solidity": (0.8132, 0.7727, 0.0022),
    },
}

# generator -> metric -> value
TABLE_IV: dict[str, dict[str, str]] = {
    "ddpm": {"ssim": "0.22", "ms_ssim": "0.36", "psnr": "10.67", "fid": "72.52", "kid": "0.04", "lpips": "0.49"},
    "ldm": {"ssim": "0.18", "ms_ssim": "0.33", "psnr": "9.95", "fid": "95.17", "kid": "0.08", "lpips": "0.51"},
    "fm": {"ssim": "0.22", "ms_ssim": "0.40", "psnr": "11.44", "fid": "108.32", "kid": "0.098", "lpips": "0.48"},
}

# setup -> test set -> (Dice, IoU, HD95, ASD)
TABLE_V: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "mnms-real": {"mnms": ("0.90", "0.84", "2.99", "1.04"), "acdc": ("0.91", "0.85", "2.89", "0.94")},
    "acdc-real": {"mnms": ("0.90", "0.83", "3.88", "1.23"), "acdc": ("0.93", "0.88", "2.65", "0.75")},
    "ddpm-full": {"mnms": ("0.87", "0.80", "5.77", "1.79"), "acdc": ("0.87", "0.80", "6.28", "1.78")},
    "ddpm-acdc": {"mnms": ("0.86", "0.79", "5.98", "1.89"), "acdc": ("0.88", "0.81", "4.72", "1.45")},
    "ddpm-mnms": {"mnms": ("0.89", "0.83", "4.34", "1.41"), "acdc": ("0.90", "0.84", "4.61", "1.34")},
    "ldm-full": {"mnms": ("0.87", "0.79", "5.28", "1.74"), "acdc": ("0.87", "0.80", "4.90", "1.52")},
    "ldm-acdc": {"mnms": ("0.85", "0.78", "7.94", "2.48"), "acdc": ("0.86", "0.79", "8.38", "2.43")},
    "ldm-mnms": {"mnms": ("0.89", "0.82", "4.17", "1.40"), "acdc": ("0.88", "0.82", "2.26", "1.53")},
    "fm-full": {"mnms": ("0.87", "0.80", "6.53", "2.12"), "acdc": ("0.88", "0.81", "6.29", "1.81")},
    "fm-acdc": {"mnms": ("0.82", "0.73", "8.75", "2.90"), "acdc": ("0.85", "0.76", "7.74", "2.19")},
    "fm-mnms": {"mnms": ("0.88", "0.82", "5.04", "1.64"), "acdc": ("0.89", "0.82", "5.73", "1.67")},
}

# generator -> metric -> value
TABLE_VI: dict[str, dict[str, str]] = {
    "ddpm": {"nn_l2": "12.0", "nn_lpips": "0.36", "nndr": "0.83", "mia_auc": "0.6029"},
    "ldm": {"nn_l2": "10.5", "nn_lpips": "0.37", "nndr": "0.85", "mia_auc": "0.580"},
    "fm": {"nn_l2": "19.0", "nn_lpips": "0.41", "nndr": "0.87", "mia_auc": "0.6038"},
}

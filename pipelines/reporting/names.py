"""How datasets, networks, setups and metrics are called on the page, with unit, direction and decimals."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

DATASETS = {"acdc": "ACDC", "mnms": "M&Ms"}
GENERATORS = {"ddpm": "DDPM", "ldm": "LDM", "fm": "Flow matching", "masks": "Mask model"}
SPLITS = {"train": "Training", "val": "Validation", "test": "Test", "holdout": "Hold-out"}
STRUCTURE_NAMES = {"LV": "left ventricle", "MYO": "myocardium", "RV": "right ventricle"}
STRUCTURE_COLOURS = {
    "LV": "#d55e00",
    "MYO": "#009e73",
    "RV": "#56b4e9",
}  # Okabe and Ito 2008: told apart by the colour-blind too

HIGHER, LOWER = "higher is better", "lower is better"


@dataclass(frozen=True)
class Metric:
    """One figure's presentation: ``scale`` multiplies the stored value, ``ideal`` says what a good value is."""

    name: str
    unit: str = ""
    better: str = ""
    digits: int = 2
    scale: float = 1.0
    ideal: str = ""

    @property
    def arrow(self) -> str:
        return {HIGHER: "↑", LOWER: "↓"}.get(self.better, "")


MASK_FEATURES = {
    "pixel_share": Metric("Pixel share", "% of image", digits=2),
    "area": Metric("Area", "pixels", digits=0),
    "roundness": Metric("Roundness 4πA/P²", digits=3),
    "eccentricity": Metric("Eccentricity", digits=3),
    "solidity": Metric("Solidity", digits=3),
}
MASK_CHECKS = {
    "components": "each structure is one piece",
    "holes": "no holes",
    "ring": "myocardial ring closed",
    "lv_inside": "LV inside the ring",
    "rv_touching": "RV touches the myocardium",
}
SHARE = Metric("Share", "% of masks", HIGHER, 1, 100)
FIDELITY = {
    "ssim": Metric("SSIM", better=HIGHER, digits=3),
    "ms_ssim": Metric("MS-SSIM", better=HIGHER, digits=3),
    "psnr": Metric("PSNR", "dB", HIGHER),
    "lpips": Metric("LPIPS (VGG)", better=LOWER, digits=3),
    "fid": Metric("FID", better=LOWER, digits=1),
    "kid": Metric("KID", better=LOWER, digits=4),
    "precision": Metric("Precision", better=HIGHER, digits=3),
    "recall": Metric("Recall", better=HIGHER, digits=3),
    "frechet_segmenter": Metric("Fréchet distance, segmenter", "features of a segmenter of hearts", LOWER, 3),
    "mask_adherence": Metric("Mask adherence (Dice)", better=HIGHER, digits=3),
}
UNPAIRED = ("fid", "kid", "precision", "recall", "frechet_segmenter")  # crowds of images: also of Full-Syn
FIDELITY_EXTRA = {
    "mask_adherence_real": Metric("… of the real slices", "the most that can be asked for", digits=3),
    "mask_adherence_shuffled": Metric("… against others' masks", "what ignoring the mask gives", digits=3),
    "mask_adherence_ratio": Metric("… synthetic / real", "1: as well as real slices", HIGHER, 3),
    "mask_adherence_over_shuffled": Metric("… synthetic − shuffled", "0: as if it ignored the mask", HIGHER, 3),
}
CLINICAL = {
    "dice": Metric("Dice", better=HIGHER, digits=3),
    "iou": Metric("IoU", better=HIGHER, digits=3),
    "hd95": Metric("HD95", "mm", LOWER, 1),
    "asd": Metric("ASD", "mm", LOWER),
}
PAPER_STYLE = {**CLINICAL, "hd95": Metric("HD95", "px", LOWER, 1), "asd": Metric("ASD", "px", LOWER)}
CONVENTIONS = {"clinical": CLINICAL, "paper": PAPER_STYLE}
AGAINST_REAL = {  # and what the difference is to be held against
    "dice_vs_real": Metric("Dice − real", "points of 1", HIGHER, 3, ideal="0: as good as real"),
    "dice_ratio_to_real": Metric("Dice / real", better=HIGHER, digits=3, ideal="1: as good as real"),
    "dice_sd_of_seeds": Metric("Dice, scatter of the seeds", "standard deviation", LOWER, 3, ideal="well below the difference"),
}
PRIVACY = {
    "nn_l2": Metric("Nearest neighbour, L2", "[0, 1] pixels; masks: one-hot", ideal="as far as the hold-out is from training"),
    "nn_lpips": Metric("Nearest neighbour, LPIPS", digits=3, ideal="as far as the hold-out is from training"),
    "nn_dice": Metric("Nearest neighbour, 1 − Dice", digits=3, ideal="as far as the hold-out is from training"),
    "nndr": Metric("NNDR", "second neighbour: another patient", digits=3, ideal="as the floor; near 0 for copies"),
    "closer_to_train": Metric("Closer to training than to hold-out", "% of images", digits=1, scale=100, ideal="50 %"),
    "copies": Metric("Copies", "% nearer than the hold-out's 1st percentile", LOWER, 1, 100, ideal="1 % expected"),
    "mia_auc": Metric("Membership inference, AUC", better=LOWER, digits=3, ideal="0.5"),
    "mia_auc_null": Metric("… by chance, AUC", "patients change sides at random", digits=3, ideal="holds the AUC above"),
    "mia_auc_blind": Metric("Blind control, AUC", digits=3, ideal="0.5, else the comparison is void"),
    "mia_auc_control": Metric("Positive control, AUC", digits=3, ideal="near 1, else the attack is weak"),
    "blind_datasets": Metric(
        "Blind control between the two datasets, AUC", digits=3, ideal="above 0.9, else the blind attack is a dud"
    ),
    "mia_tpr_at_1_fpr": Metric("True positives at 1 % false positives", "%", LOWER, 1, 100, ideal="1 %"),
    "mia_tpr_at_10_fpr": Metric("True positives at 10 % false positives", "%", LOWER, 1, 100, ideal="10 %"),
}
PRIVACY_EXTRA = {
    "nn_l2_holdout": Metric(
        "Nearest hold-out neighbour, L2", "[0, 1] pixels; masks: one-hot", ideal="as near as the training neighbour"
    ),
    "nn_lpips_holdout": Metric("Nearest hold-out neighbour, LPIPS", digits=3, ideal="as near as the training neighbour"),
    "nn_lpips_paper": Metric("LPIPS to the L2-nearest, the paper's way", digits=3, ideal="as the hold-out"),
    "nn_dice_holdout": Metric("Nearest hold-out neighbour, 1 − Dice", digits=3, ideal="as near as the training neighbour"),
    "nndr_paper": Metric(
        "NNDR, the paper's way", "second neighbour: any image", digits=3, ideal="as the floor; near 0 for copies"
    ),
    "closer_to_train_null": Metric(
        "… by chance", "% , other draws of the hold-out", digits=1, scale=100, ideal="holds the figure above"
    ),
    "closer_to_train_p_value": Metric("… p-value of so much", "one-sided, by redrawing", digits=3, ideal="not below 0.05"),
    "closer_to_train_over_floor": Metric("… more than test images", "points of 1", digits=3, ideal="0"),
    "c_t": Metric("C_T, copying test", "negative: copies", digits=2, ideal="not below 0"),
    "nearer_than_holdout": Metric("… nearer than the hold-out", "share of pairs", digits=3, ideal="0.5; near 1 for copies"),
    "lpips_nndr": Metric(
        "NNDR by LPIPS", "second neighbour: another patient", digits=3, ideal="as the floor; near 0 for copies"
    ),
    "lpips_closer_to_train": Metric("Closer to training, by LPIPS", "% of images", digits=1, scale=100, ideal="50 %"),
    "lpips_copies": Metric("Copies, by LPIPS", "%", LOWER, 1, 100, ideal="1 % expected"),
    "augmented_copies": Metric("Copies, flipped or turned too", "%", LOWER, 1, 100, ideal="1 % expected"),
    "augmented_closer_to_train": Metric(
        "Closer to training, flipped or turned too", "% of images", digits=1, scale=100, ideal="50 %"
    ),
}


def dataset_name(dataset: str) -> str:
    return DATASETS.get(dataset, dataset)


def network_name(name: str) -> str:
    """``segmenter/acdc-real`` -> ``Segmenter · ACDC real``, ``control/fm`` -> ``Control · Flow matching``; a generator's key ->
    its name, or the key where it has none."""
    kind, _, of = name.rpartition("/")
    if kind == "segmenter":
        return f"Segmenter · {setup_name(of)}"
    kinds = {"autoencoder": "Autoencoder", "control": "Control"}
    return f"{kinds[kind]} · {network_name(of)}" if kind in kinds else GENERATORS.get(name, name)


def setup_name(setup: str) -> str:
    """``acdc-real`` -> ``ACDC real``; ``ddpm-full`` -> ``DDPM · Full-Syn``; ``ddpm-acdc`` -> ``DDPM · ACDC-Syn``;
    ``mnms-real-and-ddpm-full`` -> ``M&Ms real + DDPM · Full-Syn``; ``mnms-real-as-acdc`` -> ``M&Ms real, as many as ACDC-Syn``.
    """
    if again := re.fullmatch(r"(.+)-seed-(\d+)", setup):
        return f"{setup_name(again[1])}, seed {again[2]}"
    if further := re.fullmatch(r"(.+-real)-(and|as)-(.+)", setup):
        real, how, other = further.groups()
        if how == "and":
            return f"{setup_name(real)} + {setup_name(other)}"
        return f"{setup_name(real)}, as many as {'Full' if other == 'full' else dataset_name(other)}-Syn"
    head, _, tail = setup.rpartition("-")
    if tail == "real":
        return f"{dataset_name(head)} real"
    source = "Full" if tail == "full" else dataset_name(tail)
    return f"{network_name(head)} · {source}-Syn"


def listed(names: Sequence[str]) -> str:
    """``A, B and C``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))

"""Plain-language explanations of the evaluation metrics."""

from __future__ import annotations

from latentfm_core.evaluation.scores import COLUMNS

MEANING = {
    "dice": "Overlap of the mean mask with the expert's outline: 1 if they are the same, 0 if they "
    "have nothing in common.",
    "iou": "A stricter overlap: intersection over union.",
    "sample_dice": "Overlap of one sample with the expert; if close to the Dice of the mean mask, "
    "single samples are as good as their mean.",
    "ged": "Distance between the spread of the samples and that of the experts; 0 is best. With "
    "one expert, diverse samples can only score worse.",
    "hm_iou": "Overlap when samples and experts are matched one to one; 1 is best.",
    "diversity": "Average difference between two samples: 0 if all are equal; unknown for one.",
    "mask_vae_dice": "The expert's own outline after the model's mask encoder: about the best "
    "a sample can reach.",
    "ece": "How far the probabilities are from the observed frequencies, image by image; 0 is "
    "best.",
    "dataset_ece": "The same with the pixels of all images together.",
    "confidence_ece": "How far the confidence is from how often the mean mask is right; 0 is best.",
    "brier": "Mean squared error of the probability of a pixel; 0 is best.",
    "error_auroc": "Chance that a wrong pixel has less confidence than a right one: 1 finds every "
    "error, 0.5 is guessing.",
    "confidence": "How confident the model is, over all pixels of an image.",
    "expected_dice": "The model's own estimate of the Dice of its mean mask, from how far the "
    "samples agree.",
    "quality_error": "How far the expected Dice is from the actual one, on average; 0 is best.",
    "quality_rank": "1 if the image with the higher expected Dice is always the better one, 0 if "
    "there is no correlation.",
    "domain_score": "How unlike the training images the image is: above 1 it is out of domain, and "
    "the model's estimates for its own mask are unreliable.",
    "out_of_domain": "Share of the images that are unlike the training images.",
}
"""Keyed like `latentfm_core.output.tables.LABELS`."""

HEADS = dict(zip(COLUMNS, COLUMNS, strict=True)) | {
    "name": "image",
    "references": "experts",
    "dice": "Dice",
    "iou": "IoU",
    "sample_dice": "Dice of samples",
    "ged": "GED",
    "hm_iou": "HM-IoU",
    "mask_vae_dice": "Dice after mask VAE",
    "ece": "ECE",
    "brier": "Brier",
    "error_auroc": "AUROC of errors",
    "expected_dice": "expected Dice",
    "domain_score": "domain score",
    "nfe": "NFE",
}
"""Column headers of the table of images."""

MORE_MEANING = {
    "name": "File name without extension.",
    "height": "Pixels.",
    "width": "Pixels.",
    "references": "How many experts outlined it.",
    "object": "Number of the object in the mask file.",
    "nfe": "Evaluations of the velocity network for each sample.",
    "seconds": "From the pixels in memory to the finished maps.",
}

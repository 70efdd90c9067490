"""Privacy of synthetic images and masks: do they lie closer to the patients trained on than to others (paper, Table VI)?"""

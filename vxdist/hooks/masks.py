"""Which neurons are ablated and how: what the settings of evaluate mean in a store."""

import xarray as xr

from vxdist.components import make_component
from vxdist.config import Config, EvaluateConfig
from vxdist.errors import UserError
from vxdist.hooks.interventions import INTERVENTIONS, Intervention
from vxstore.query.lookup import default_score
from vxstore.read import Store


def find_score(config: Config, store: Store) -> str:
    """Name of the score whose neurons are ablated. Raises StoreError if none is meant."""
    asked = config.evaluate.scores or config.reduce.name
    return asked or default_score(store, config.reduce.selector)


def make_intervention(settings: EvaluateConfig) -> Intervention:
    """The intervention of these settings. Raises UserError if there is none of its name."""
    intervention: Intervention = make_component(
        INTERVENTIONS, settings.intervention, settings, "evaluate.intervention"
    )
    return intervention


def check_needs(store: Store, root: xr.Dataset, intervention: Intervention) -> None:
    """Raise UserError if the intervention needs a statistic that the store does not record."""
    missing = [name for name in intervention.needs if name not in root]
    if missing:
        raise UserError(
            f"evaluate.intervention: it needs {', '.join(missing)}, which {store.path} does not "
            "record; choose another, such as zero"
        )

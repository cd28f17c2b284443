from setuptools import find_packages, setup

setup(
    name="shield_node",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"shield_node": ["**/*.yaml", "data/*.json", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/shield_node"]),
        ("share/shield_node", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
    entry_points={
        "industriverse.warmup": ["shield_node = shield_node.gates.warmup:warm_up"],
        "console_scripts": [
            "shield_node = shield_node.node:main",
        ],
    },
)

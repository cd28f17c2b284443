from setuptools import find_packages, setup

setup(
    name="twin_node",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"twin_node": ["**/*.yaml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/twin_node"]),
        ("share/twin_node", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "twin_node = twin_node.node:main",
        ],
        "industriverse.warmup": ["twin_node = twin_node.warmup:warm_up"],
    },
)
